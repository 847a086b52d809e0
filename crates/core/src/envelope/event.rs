use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::attribute::{check_name, check_said, check_text};
use super::media_type::MediaType;
use super::{AttributeValue, Data, EnvelopeError, Form, Reason, Time, uri};

/// The one version of the specification that is read and written, as `specversion` has it.
pub(super) const VERSION: &str = "1.0";

/// One message: a valid CloudEvent of version 1.0.
///
/// Clones are cheap, they share attributes and data until one of them is changed. Two events are equal when all
/// their attributes and data are, times by their text and data by form and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    attributes: Arc<Attributes>,
    data: Option<Data>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Attributes {
    id: Box<str>,
    source: Box<str>,
    r#type: Box<str>,
    subject: Option<Box<str>>,
    time: Option<Time>,
    data_content_type: Option<Box<str>>,
    data_schema: Option<Box<str>>,
    extensions: BTreeMap<Box<str>, AttributeValue>,
}

impl Envelope {
    /// An event with the attributes that each one has.
    ///
    /// `source` and `id` together tell it from all others; who sends it again sends the same two. `source` is a
    /// URI-reference, such as `/orders` or `https://shop.example/orders`.
    ///
    /// # Errors
    /// When one of them is empty or has a character that no attribute may have, or `source` is no URI-reference.
    pub fn new(id: &str, source: &str, r#type: &str) -> Result<Self, EnvelopeError> {
        check("id", check_said(id))?;
        check("source", check_said(source))?;
        check("type", check_said(r#type))?;
        if !uri::is_reference(source) {
            return Err(malformed("source", "a URI-reference"));
        }
        let attributes = Attributes {
            id: id.into(),
            source: source.into(),
            r#type: r#type.into(),
            subject: None,
            time: None,
            data_content_type: None,
            data_schema: None,
            extensions: BTreeMap::new(),
        };
        Ok(Self { attributes: Arc::new(attributes), data: None })
    }

    /// An event with all but its extensions and its data, from what `text` gives for their names.
    pub(super) fn from_text<'a>(
        mut text: impl FnMut(&'static str) -> Result<Option<Cow<'a, str>>, EnvelopeError>,
    ) -> Result<Self, EnvelopeError> {
        let mut required = |name| {
            let value = text(name)?;
            value.ok_or_else(|| EnvelopeError::new(name, Reason::Missing))
        };
        if required("specversion")? != VERSION {
            return Err(EnvelopeError::new("specversion", Reason::UnknownVersion));
        }
        let mut event = Self::new(&required("id")?, &required("source")?, &required("type")?)?;
        if let Some(subject) = text("subject")? {
            event = event.with_subject(&subject)?;
        }
        if let Some(time) = text("time")? {
            let malformed = |_| malformed("time", "a time of RFC 3339");
            event = event.with_time(time.parse::<Time>().map_err(malformed)?);
        }
        if let Some(schema) = text("dataschema")? {
            event = event.with_data_schema(&schema)?;
        }
        Ok(event)
    }

    /// The same with what it is about, in the context of its source: an entity's id.
    ///
    /// # Errors
    /// When `subject` is empty or has a character that no attribute may have.
    pub fn with_subject(mut self, subject: &str) -> Result<Self, EnvelopeError> {
        check("subject", check_said(subject))?;
        self.change().subject = Some(subject.into());
        Ok(self)
    }

    /// The same with when it happened.
    #[must_use]
    pub fn with_time(mut self, time: impl Into<Time>) -> Self {
        self.change().time = Some(time.into());
        self
    }

    /// The same with a URI that tells the schema of its data.
    ///
    /// # Errors
    /// When `schema` is no absolute URI.
    pub fn with_data_schema(mut self, schema: &str) -> Result<Self, EnvelopeError> {
        check("dataschema", check_said(schema))?;
        if !uri::is_uri(schema) {
            return Err(malformed("dataschema", "an absolute URI"));
        }
        self.change().data_schema = Some(schema.into());
        Ok(self)
    }

    /// The same with other data, and with what that is: a media type, or `None` to say nothing.
    ///
    /// # Errors
    /// When `content_type` is no media type, or says that data in the form of JSON is something else, or data in
    /// the form of text is JSON. Text needs a media type, since without one the JSON format means JSON.
    pub fn with_data(mut self, data: Data, content_type: Option<&str>) -> Result<Self, EnvelopeError> {
        let declared = self.set_content_type(content_type)?;
        match data.form() {
            Form::Json if declared == Some(false) => {
                return Err(malformed("datacontenttype", "the type of JSON"));
            }
            Form::Text if declared != Some(false) => {
                return Err(malformed("datacontenttype", "the type of text that is not JSON"));
            }
            Form::Json | Form::Text | Form::Binary => {}
        }
        self.data = Some(data);
        Ok(self)
    }

    /// The same without data, though its type may be told.
    ///
    /// # Errors
    /// When `content_type` is no media type.
    pub fn without_data(mut self, content_type: Option<&str>) -> Result<Self, EnvelopeError> {
        self.set_content_type(content_type)?;
        self.data = None;
        Ok(self)
    }

    /// Whether the type that is now declared is one of JSON.
    fn set_content_type(&mut self, content_type: Option<&str>) -> Result<Option<bool>, EnvelopeError> {
        let declared = content_type
            .map(|text| {
                check("datacontenttype", check_said(text))?;
                let media_type = MediaType::parse(text);
                media_type.ok_or_else(|| malformed("datacontenttype", "a media type")).map(MediaType::is_json)
            })
            .transpose()?;
        if self.data_content_type() != content_type {
            self.change().data_content_type = content_type.map(Into::into);
        }
        Ok(declared)
    }

    /// The same with an extension, in place of one of that name.
    ///
    /// # Errors
    /// When the name is not made of `a` to `z` and `0` to `9` or is taken by the specification, or text has a
    /// character that no attribute may have.
    pub fn with_extension(
        mut self,
        name: &str,
        value: impl Into<AttributeValue>,
    ) -> Result<Self, EnvelopeError> {
        let value = value.into();
        check(name, check_name(name))?;
        if let AttributeValue::Text(text) = &value {
            check(name, check_text(text))?;
        }
        self.change().extensions.insert(name.into(), value);
        Ok(self)
    }

    /// The same without the extension of that name.
    #[must_use]
    pub fn without_extension(mut self, name: &str) -> Self {
        if self.attributes.extensions.contains_key(name) {
            self.change().extensions.remove(name);
        }
        self
    }

    fn change(&mut self) -> &mut Attributes {
        Arc::make_mut(&mut self.attributes)
    }

    /// What tells it from others of its source.
    pub fn id(&self) -> &str {
        &self.attributes.id
    }

    /// The context in which it happened, a URI-reference.
    pub fn source(&self) -> &str {
        &self.attributes.source
    }

    /// What happened, such as `com.example.order.created`.
    pub fn r#type(&self) -> &str {
        &self.attributes.r#type
    }

    /// What it is about.
    pub fn subject(&self) -> Option<&str> {
        self.attributes.subject.as_deref()
    }

    /// When it happened.
    pub fn time(&self) -> Option<&Time> {
        self.attributes.time.as_ref()
    }

    /// The media type of the data.
    pub fn data_content_type(&self) -> Option<&str> {
        self.attributes.data_content_type.as_deref()
    }

    /// The URI of the schema of the data.
    pub fn data_schema(&self) -> Option<&str> {
        self.attributes.data_schema.as_deref()
    }

    /// The data.
    pub fn data(&self) -> Option<&Data> {
        self.data.as_ref()
    }

    /// The extension of that name.
    pub fn extension(&self, name: &str) -> Option<&AttributeValue> {
        self.attributes.extensions.get(name)
    }

    /// All extensions, in the order of their names.
    pub fn extensions(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        self.attributes.extensions.iter().map(|(name, value)| (&**name, value))
    }
}

fn check(attribute: &str, checked: Result<(), Reason>) -> Result<(), EnvelopeError> {
    checked.map_err(|reason| EnvelopeError::new(attribute, reason))
}

fn malformed(attribute: &str, expected: &'static str) -> EnvelopeError {
    EnvelopeError::new(attribute, Reason::Malformed { expected })
}
