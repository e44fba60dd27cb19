"""The names of columns: those of delivered products, and the one that jobs keep beside them while they work."""

PRODUCT_ID, CATEGORY_ID = "product_id", "category_id"

ROW = "_row"  # a row's place in its partition, file by file and line by line

RESERVED = (PRODUCT_ID, CATEGORY_ID, ROW)  # no feature may be called so
