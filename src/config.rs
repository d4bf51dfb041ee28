//! `milter.yaml`: read, checked as a whole, turned into each module's own settings.
