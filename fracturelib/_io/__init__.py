"""What every other package writes and says with: files that appear whole or not at all, tables, caches, errors.

It knows nothing of images.
"""

NOTICE = "For education and research, never for clinical use."
OF_A_MAP = f"{NOTICE} A heat map is not a finding."
