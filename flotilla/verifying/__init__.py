"""`flotilla verify`: whether a live installation keeps its promises, and what of it can be mended safely."""
