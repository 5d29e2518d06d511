"""Laboratories: machines with several "hosts" on one, to try the product on real guests."""
