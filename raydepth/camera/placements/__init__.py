"""Where cameras stand: unit directions from the centre to each camera, and where "up" is."""
