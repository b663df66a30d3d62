"""Trees of products, ours or the predecessor's: are they what they should be, and how do two differ?"""
