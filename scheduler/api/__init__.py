"""How the daemon is spoken to: operations, and the control socket that carries them."""
