//! Models: from a name to a file that an engine can be given.
//!
//! [`Store`] finds files in folders, [`pull`] fetches a missing one, [`Routing`] picks the
//! model where the caller names none, a [`Catalog`] is what a server was asked for. Parent side. Nothing here loads weights or knows devices,
//! and no setting is read from the environment: folders, endpoint and token come in as values.

mod error;
mod header;
mod registry;
mod store;
// how a file gets here
mod download;
mod progress;
mod transfer;
// which one is used
mod catalog;
mod routing;

pub use catalog::{Availability, Catalog, Models, StandInReason};
#[cfg(test)]
pub(crate) use download::tests as download_tests;
pub use download::{DownloadConfig, Progress, obtain, pull, sha256};
pub use error::ModelError;
pub use header::{Dimensions, Languages};
pub use progress::progress_bar;
pub use registry::{BUNDLED, DEFAULT_ENDPOINT, Entry, REGISTRY, find};
pub use routing::{INDIAN_LANGUAGES, Routing, RoutingError, detector, is_routed};
pub use store::{ModelFile, Row, Store, bundled_folders, default_folder};
pub(crate) use transfer::causes;
pub use transfer::{http_client, http_client_builder, local_http_client};
