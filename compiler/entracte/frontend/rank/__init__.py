"""Values with more dimensions than a package has, computed with fewer."""
