"""`train fit`: train a network on labelled crops."""
