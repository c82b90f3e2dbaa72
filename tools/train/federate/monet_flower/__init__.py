"""Flower's side of `monet-train federate`: what travels, who sends it, who averages it. All
learning is the trainer's."""
