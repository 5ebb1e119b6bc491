"""Operations written in simpler ones, exactly as torch defines them; `table` joins the rows."""
