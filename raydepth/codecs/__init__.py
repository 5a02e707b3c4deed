"""Turn the pixels of one image into bytes, and back."""
