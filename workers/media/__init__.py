"""Pictures: what somebody uploaded becomes small, upright, sRGB copies that carry nothing but pixels.

Decoders of foreign files are the likeliest place of a hole, so they run in limited child processes (`pool`); no other
module of the workers imports the image library.
"""
