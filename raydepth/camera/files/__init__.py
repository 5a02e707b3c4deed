"""Files of cameras, one module a format; `formats` reads and writes them all."""
