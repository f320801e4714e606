"""Labelled crops: manifest, dataset, splits."""
