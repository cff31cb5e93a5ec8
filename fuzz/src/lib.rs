//! What the fuzz targets run, and the seeds that they begin with. See `README.md` beside this folder.

pub mod decoders;
