"""``python -m optmsm`` is the program ``optmsm``."""

import sys

from ._program import main

sys.exit(main())
