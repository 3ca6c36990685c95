//! `setters!`: an option that several requests take is written once.

/// Gives each of several requests the same setters. In a body, `draft` is the request's
/// [`Draft`](super::draft::Draft).
macro_rules! setters {
    ($($request:ident),+ => $setters:tt) => { $(setters!(@one $request $setters);)+ };
    (@one $request:ident {
        $($(#[$attribute:meta])*
        fn $name:ident($draft:ident $(, $value:ident: $type:ty)*) $body:block)*
    }) => {
        impl<'a> $request<'a> {
            $($(#[$attribute])*
            #[must_use]
            pub fn $name(mut self $(, $value: $type)*) -> Self {
                let $draft = &mut self.0;
                $body
                self
            })*
        }
    };
}

pub(super) use setters;
