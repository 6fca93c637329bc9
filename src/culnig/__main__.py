"""Entry point of `python -m culnig`, and therefore of `accelerate launch -m culnig`."""

from culnig.cli import main

main()
