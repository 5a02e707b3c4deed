"""Camera files, one module for each format; `formats` reads and writes all of them."""
