"""The names of columns: those of delivered products, and those that jobs keep beside them while they work."""

PRODUCT_ID, CATEGORY_ID = "product_id", "category_id"

ROW = "_row"  # a row's place in its partition, file by file and line by line
CLIENT = "_client"  # a client's number among those that are worked on at once

RESERVED = (PRODUCT_ID, CATEGORY_ID, ROW, CLIENT)  # no feature may be called so
