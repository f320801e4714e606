"""Where cells come from that are not one image file each: pages, frames and index tables."""
