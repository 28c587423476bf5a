"""How films are taken: rigs, rays through flesh and metal, physics, what makers do to a picture, what is burnt in."""
