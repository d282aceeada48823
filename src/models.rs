//! Models: from a name to a verified file.
