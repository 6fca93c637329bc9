"""One file a scoring method; each registers a class derived from one of those in `culnig.attribution.method`."""
