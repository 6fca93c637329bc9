"""One file a model family; each registers its map of sites under the `model_type` of its configs."""
