"""Forms of storage for a data set, one module per form; `forms` lists them."""
