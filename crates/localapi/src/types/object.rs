//! The structs of the LocalAPI: what all of them can do.

/// Defines a struct by its fields, as [`gojson::object`] does, that can be shown and cloned.
macro_rules! go_object {
    (keep $($body:tt)*) => {
        gojson::object! { keep #[derive(Debug, Clone)] $($body)* }
    };
    ($($body:tt)*) => {
        gojson::object! { #[derive(Debug, Clone)] $($body)* }
    };
}
