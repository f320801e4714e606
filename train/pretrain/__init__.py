"""`train pretrain`: train a network's features on unlabelled crops."""
