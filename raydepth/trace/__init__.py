"""Find the faces that rays meet: tiles of rays, single rays, all crossings of a ray."""
