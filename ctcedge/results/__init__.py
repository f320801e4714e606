"""Work with finished sidecars: summary, status, table, verification, reviews, controls."""
