"""What the coded bytes of a packet say, without decoding them."""
