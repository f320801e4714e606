"""Watch an export folder for months: events, file stability, systemd, metrics."""
