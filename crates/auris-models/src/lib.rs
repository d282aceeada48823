//! Models: from a name to a file that an engine can be given.
//!
//! [`ModelStore`] finds files in folders, [`pull`] downloads a missing one, [`Routing`] picks the model
//! if the caller names none, and a [`Catalog`] holds the models that a server was started with.
//! Runs in the server process. Nothing here loads weights or knows devices, and no setting is read
//! from the environment: folders, endpoint and token are passed in.

#![forbid(unsafe_code)]

#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod error;
mod header;
mod registry;
mod store;
// how a file gets here
mod progress;
mod transfer;
mod download;
// which one is used
mod aliases;
mod catalog;
mod routing;

pub use aliases::{AliasError, AliasTarget, ModelAliases};
pub use catalog::{Availability, Catalog, Models, StandInReason};
pub use download::{obtain, pull, sha256};
pub use error::ModelError;
pub use header::{Dimensions, Languages};
pub use progress::{DownloadProgress, progress_bar};
pub use registry::{BUNDLED, DEFAULT_ENDPOINT, PublishedModel, REGISTRY, find};
pub use routing::{INDIAN_LANGUAGES, Routing, RoutingError, detector};
pub use store::{ModelFile, ModelListing, ModelStore, bundled_folders, default_folder};
pub use transfer::{DownloadConfig, causes, http_client, http_client_builder, local_http_client};
