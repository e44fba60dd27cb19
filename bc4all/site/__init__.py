"""Pages of plain files: is every client fine, are its categories good, what wants a person?"""
