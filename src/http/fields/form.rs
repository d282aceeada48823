//! `form!`, which declares a form or a query once: as a struct, as its schema, and as its reader.

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Object;
use utoipa::openapi::{OpenApi, RefOr, Required, Schema};

/// Declares a struct whose fields are those of a form or a query.
///
/// `name as "wire_name" in 1..=9: Type` is a field with another name on the wire and a range of
/// numbers; both may be missing. `..part: Part` adds the fields of another such struct.
/// `@file name` documents the file, which is received before the fields are read.
macro_rules! form {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Form:ident {
            $(@file $file:ident,)?
            $(
                $(#[$attr:meta])*
                $field:ident $(as $name:tt)? $(in $min:tt ..= $max:tt)?: $Type:ty,
            )*
            $(..$part:ident: $Part:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, utoipa::ToSchema)]
        $vis struct $Form {
            $(
                /// The audio: almost any container and codec. Its name and type are ignored.
                #[allow(dead_code, reason = "documented here, received by `Upload`")]
                #[schema(value_type = String, format = Binary)]
                $file: (),
            )?
            $(
                $(#[$attr])*
                #[schema(nullable = false, required = false)]
                $(#[schema(rename = $name)])?
                $(#[schema(minimum = $min, maximum = $max)])?
                $field: $Type,
            )*
            $(
                #[serde(flatten)]
                #[schema(inline)]
                $part: $Part,
            )*
        }

        impl $Form {
            /// Reads the fields. An invalid value is an error that names its field.
            $vis fn read(
                fields: &mut $crate::http::fields::Fields<'_>,
            ) -> Result<Self, $crate::http::error::ApiError> {
                Ok(Self {
                    $($file: (),)?
                    $($field: form!(
                        @read fields, form!(@name $field $($name)?) $(, $min..=$max)?
                    ),)*
                    $($part: <$Part>::read(fields)?,)*
                })
            }
        }

        impl utoipa::IntoParams for $Form {
            fn into_params(
                _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
            ) -> Vec<utoipa::openapi::path::Parameter> {
                $crate::http::fields::query(<Self as utoipa::PartialSchema>::schema())
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:tt) => { $name };
    (@read $fields:ident, $name:expr) => {
        $crate::http::fields::FromFields::from_fields($fields, $name)?
    };
    (@read $fields:ident, $name:expr, $range:expr) => { $fields.number($name, $range)? };
}
pub(in crate::http) use form;

/// The fields of a form as parameters of a query: all but the file, which alone is required.
pub(in crate::http) fn query(form: RefOr<Schema>) -> Vec<Parameter> {
    let Object { properties, required, .. } = joined(form);
    let parameter = |(name, mut schema): (String, RefOr<Schema>)| {
        let description = match &mut schema {
            RefOr::Ref(reference) => Some(std::mem::take(&mut reference.description)),
            RefOr::T(Schema::Object(object)) => object.description.take(),
            RefOr::T(Schema::Array(array)) => array.description.take(),
            RefOr::T(_) => None,
        };
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(description)
            .schema(Some(schema))
            .build()
    };
    let fields = properties.into_iter().filter(|(name, _)| !required.contains(name));
    fields.map(parameter).collect()
}

/// Makes each form one object, instead of a list of the parts that it is declared from.
pub(in crate::http) fn join_parts(document: &mut OpenApi) {
    for schema in document.components.iter_mut().flat_map(|own| own.schemas.values_mut()) {
        if let RefOr::T(Schema::AllOf(parts)) = schema
            && parts.items.iter().all(|part| matches!(part, RefOr::T(_)))
        {
            *schema = joined(schema.clone()).into();
        }
    }
}

fn joined(form: RefOr<Schema>) -> Object {
    match form {
        RefOr::T(Schema::Object(object)) => object,
        RefOr::T(Schema::AllOf(parts)) => {
            let mut whole = Object::new();
            whole.description = parts.description;
            for part in parts.items.into_iter().map(joined) {
                whole.properties.extend(part.properties);
                whole.required.extend(part.required);
            }
            whole
        }
        _ => Object::new(),
    }
}
