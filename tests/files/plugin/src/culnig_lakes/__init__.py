"""What a package of your own can add to culnig; docs/extending.md explains it."""
