"""The names of columns: those of delivered products, and those that jobs keep beside them while they read."""

PRODUCT, CATEGORY = "product_id", "category_id"

ROW = "_row"  # a row's place in its partition, file by file and line by line
LINE = "_line"  # the text of a CSV record that does not split into the header's columns, else null
FILE = "_file"  # the URI of the file that a row came from
LINES = "_lines"  # how many lines of a CSV file, blank ones apart, its record took; 1 of a parquet file
FAULT = "_fault"  # what is wrong with a row's own values, null where nothing is
TEXT = "_text"  # the values, as text, of a row with a fault
REASON = "_reason"  # why a row is refused, null where it is accepted

RESERVED = (PRODUCT, CATEGORY, ROW, LINE, FILE, LINES, FAULT, TEXT, REASON)  # no feature may be called so
