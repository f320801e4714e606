"""The result file of each crop: schema, storage, scanning and the index of finished crops."""
