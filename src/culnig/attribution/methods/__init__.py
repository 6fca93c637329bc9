"""One file a scoring method; each registers a function with the signature of `culnig.attribution._method.Method`."""
