"""What the gateway fetches from the internet because a client asks for it: images, and only where that is switched on."""
