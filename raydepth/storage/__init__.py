"""Forms of storage for a data set, one module a form; `forms` lists them."""
