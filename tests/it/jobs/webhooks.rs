//! Who is told of a job's end.

use crate::harness::{Answer, Server, form, wav};

use super::id;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
