//! voip_push: one shared library that lets a SIP server wake sleeping phones.

pub mod c_api;
pub mod config;
mod host;
pub mod http2;
pub mod model;
pub mod process;
pub mod provider;
mod random;
pub mod rest;
pub mod sender;
pub mod service;
pub mod stats;
pub mod store;
