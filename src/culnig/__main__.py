"""`python -m culnig`, and so `accelerate launch -m culnig`."""

from culnig.cli import main

main()
