"""Makes the texts importable: the test folders of several packages are no packages."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
