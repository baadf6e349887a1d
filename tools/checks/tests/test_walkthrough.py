from collections.abc import Callable
from pathlib import Path

import walkthrough

GUIDE = """# Guide

```diff
--- a/fold.py
+++ b/fold.py
@@ -1,2 +1,3 @@
 one
+two
 three
```
"""


def test_a_shown_change_applies_until_the_code_has_moved_on(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant("CONTRIBUTING.md", GUIDE)
    plant("fold.py", "one\nthree\n")
    assert list(walkthrough.find(tmp_path)) == []

    plant("fold.py", "one\nfour\n")
    assert list(walkthrough.find(tmp_path)) == [
        "CONTRIBUTING.md:3: error: patch failed: fold.py:1",
        "CONTRIBUTING.md:3: error: fold.py: patch does not apply",
    ]
