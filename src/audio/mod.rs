//! From any audio file to chunks of mono f32 samples at 16 kHz.
