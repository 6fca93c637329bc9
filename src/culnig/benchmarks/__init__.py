"""One file a benchmark; each registers an object that turns raw rows into items (`culnig.data.items.Benchmark`)."""
