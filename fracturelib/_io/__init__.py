"""What every other package writes and says with: files that appear whole or not at all, tables, caches, errors.

It knows nothing of images.
"""
