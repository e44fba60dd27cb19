"""The names of columns: those of delivered products, and the one that jobs keep beside them while they work."""

PRODUCT, CATEGORY = "product_id", "category_id"

ROW = "_row"  # a row's place in its partition, file by file and line by line

RESERVED = (PRODUCT, CATEGORY, ROW)  # no feature may be called so
