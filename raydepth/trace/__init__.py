"""Find the face that a ray meets first: tiles of rays, single rays, all crossings."""
